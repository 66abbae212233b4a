"""An adapter whose module never finishes its import."""

import time

time.sleep(600)
