"""The judge of the demo base: it measures whether samples match their prompts."""
