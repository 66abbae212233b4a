"""A keeper that can gain no privileges, as under PodSecurity `restricted`."""

import ctypes
import sys

from snakepit_worker import keeper

PR_SET_NO_NEW_PRIVS = 38

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    sys.exit(keeper.main())
