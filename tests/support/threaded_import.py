"""An adapter whose module starts a thread when it is imported."""

import threading
import time

from snakepit import Adapter, tool

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


class Threaded(Adapter):
    @tool
    def echo(self, value: int) -> int:
        return value
