"""The small models in the package: real architectures at toy size, and the scripts that train them."""

from gamutrl.zoo.packaged import available, path

__all__ = ["available", "path"]
