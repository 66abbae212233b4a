"""Write and call tools on warm pools of Python workers.

Authors need only msgspec; the caller's names (`Client` and what it returns) are imported when first used, from the extra `client`.
"""
