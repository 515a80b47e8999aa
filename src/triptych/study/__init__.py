"""A study: plan, trials, sheets, scores, verdict, report. Each stage writes files that the next stage reads."""

from .plan import Plan, read
from .progress import Progress, Silent
from .run import deciding_command, run

__all__ = ["Plan", "Progress", "Silent", "deciding_command", "read", "run"]
