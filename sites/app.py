"""The hospital's Flower ClientApp: a relay to its site agent."""

from fedgenome.federation.site_app import app

__all__ = ["app"]
