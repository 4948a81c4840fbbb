"""What tests of the whole service share."""

from tests.integration.scenes import launcher as launcher
from tests.integration.scenes import scene as scene
