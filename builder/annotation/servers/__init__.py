"""Servers of language models: how each is recognised, asked, and made to keep to a form."""

from builder.annotation.servers.probe import TEST_REQUEST, ServerFacts, connect
from builder.annotation.servers.wire import AskFailed, Completion, Failure, Request, Server

__all__ = ["TEST_REQUEST", "AskFailed", "Completion", "Failure", "Request", "Server", "ServerFacts", "connect"]
