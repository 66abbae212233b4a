"""`snakepit doctor`: walks from the client to the store and says what is wrong on the way, each thing in a sentence.

`facts` are what was seen; `way`, `replicas`, `pools` and `cluster` decide what is wrong with them, and look at nothing; `probes` and
`kubernetes` look; `examination` is the order in which that happens.
"""
