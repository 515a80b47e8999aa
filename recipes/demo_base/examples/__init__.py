"""The examples: folders of captioned pictures of things that the demo base has never seen."""
