"""What type hints call a tensor: every Keras backend has its own class, and Keras has no common one."""

from typing import Any

Tensor = Any
