"""The tool, and that both files mean the same ConfigMap. `pytest examples/from-configmap`."""

from pathlib import Path

import yaml

import snakepit.testing
from greeter import Greeter

HERE = Path(__file__).parent


def test_it_greets_in_the_language_that_is_asked_for() -> None:
    with snakepit.testing.start(Greeter) as greeter:
        assert greeter.call("greet", {"name": "Ada"}) == "Hello Ada"
        assert greeter.call("greet", {"name": "Ada", "language": "fr"}) == "Bonjour Ada"
        assert greeter.call("greet", {"name": "Ada", "language": "tlh"}) == "Hello Ada"


def test_the_pool_takes_the_config_map_that_is_made_and_it_has_the_adapters_module() -> None:
    spec = yaml.safe_load((HERE / "pool.yaml").read_text())["spec"]
    (made,) = yaml.safe_load((HERE / "kustomization.yaml").read_text())["configMapGenerator"]
    (volume,) = spec["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == made["name"]
    assert spec["worker"]["adapter"].partition(":")[0] + ".py" in made["files"]
