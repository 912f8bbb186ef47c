"""The coordinator's Flower ServerApp."""

from fedgenome.federation.server_app import app

__all__ = ["app"]
