"""The recording of `make demo` that README shows: an asciicast, and its picture."""
