"""A study: plan, trials, sheets, scores, verdict, report, each stage a file on disk that the next one reads."""

from .plan import Plan, read
from .progress import Progress, Silent
from .run import run

__all__ = ["Plan", "Progress", "Silent", "read", "run"]
