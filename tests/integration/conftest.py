"""All tests of this folder share one broker."""

from tests.integration.broker import broker as broker
