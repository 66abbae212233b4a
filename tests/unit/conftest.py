"""Random tests are judged by what they find, never by how long an example took: other tests run beside them."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
