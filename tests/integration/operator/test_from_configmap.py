"""The example whose code is in a ConfigMap, applied by the real kubectl as its page says."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.admin import Admin
from support.pages import ROOT

EXAMPLE = ROOT / "examples/from-configmap"


async def applied(admin: Admin, folder: Path) -> str:
    """The name of the ConfigMap that the pool takes its code from, which has the file's text."""
    code, said = await admin.kubectl("apply", "-k", str(folder))
    assert code == 0, said
    pool = await admin.ask("GET", admin.pools_path("greeter"))
    (volume,) = pool["spec"]["template"]["spec"]["volumes"]
    name = str(volume["configMap"]["name"])
    found = await admin.ask("GET", admin.path("configmaps", name))
    assert found["data"] == {"greeter.py": (folder / "greeter.py").read_text()}
    return name


async def test_new_code_is_another_config_map_and_another_template_of_the_pool(admin: Admin, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "example")
    first = await applied(admin, folder)
    assert await applied(admin, folder) == first
    with (folder / "greeter.py").open("a") as code:
        code.write("# new\n")
    second = await applied(admin, folder)
    assert second != first
    assert (await admin.ask("GET", admin.path("configmaps", first)))["data"], "the old one stays, to go back to"


async def test_a_version_that_is_named_by_hand_is_put_into_the_pool(admin: Admin) -> None:
    """By the commands of the page that need no kustomize."""
    await applied(admin, EXAMPLE)
    made = ("create", "configmap", "greeter-code-2", f"--from-file={EXAMPLE / 'greeter.py'}")
    assert (await admin.kubectl(*made))[0] == 0
    change = '[{"op": "replace", "path": "/spec/template/spec/volumes/0/configMap/name", "value": "greeter-code-2"}]'
    assert change in (EXAMPLE / "README.md").read_text()
    code, said = await admin.kubectl("patch", "sp/greeter", "--type=json", "-p", change)
    assert code == 0, said
    pool = await admin.ask("GET", admin.pools_path("greeter"))
    assert pool["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == "greeter-code-2"
