"""Errors that a person can act on: what happened, where, and what to do about it."""

from __future__ import annotations


class LearnGuardError(Exception):
    """Base of every error that LearnGuard raises on purpose.

    ``str(error)`` is one sentence for the person at the keyboard; ``hint`` says what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DeliveryError(LearnGuardError):
    """A delivery, or one file of it, cannot be read at all."""

    exit_code = 3


class StoreError(LearnGuardError):
    """The store is missing, broken, or holds nothing for what was asked."""

    exit_code = 4


class PackError(LearnGuardError):
    """A detector pack breaks its own rules."""

    exit_code = 5


class PolicyError(LearnGuardError):
    """The policy file is wrong."""

    exit_code = 6


class LedgerError(LearnGuardError):
    """The hour ledger of a record does not add up: the run must not be published."""

    exit_code = 7


class ReportError(LearnGuardError):
    """A report cannot be made."""

    exit_code = 8
