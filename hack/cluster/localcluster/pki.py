"""Owns the cluster's certificates, its service-account keys, and a kubeconfig for each of its users."""

import json
from collections.abc import Sequence
from pathlib import Path

from localcluster import network, shell
from localcluster.paths import State

DAYS = "3650"
USERS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
}


def create(state: State, nodes: int) -> None:
    """Everything that has to be signed before the first process starts."""
    state.pki.mkdir(parents=True, mode=0o700)
    _create_authority(state.pki)
    _sign(state.pki, "apiserver", "/CN=kube-apiserver", api_server_names())
    _sign(state.pki, "front-proxy", "/CN=front-proxy-client")
    for user, subject in USERS.items():
        _create_user(state, user, subject)
    for index in range(1, nodes + 1):
        name = network.node_name(index)
        names = [f"DNS:{name}", f"IP:{network.node_address(index)}"]
        _create_user(state, name, f"/O=system:nodes/CN=system:node:{name}", names)
    _create_token_key(state.pki)


def api_server_names() -> list[str]:
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{network.DOMAIN}"]
    names = [f"DNS:{name}" for name in [*service, "localhost"]]
    return [*names, f"IP:{network.API_SERVICE}", f"IP:{network.SERVER}", "IP:127.0.0.1"]


def _create_authority(pki: Path) -> None:
    _new_key(pki / "ca.key")
    shell.output(
        *("openssl", "req", "-x509", "-new", "-key", pki / "ca.key", "-out", pki / "ca.crt"),
        *("-days", DAYS, "-subj", "/CN=snakepit-cluster"),
    )


def _create_user(state: State, user: str, subject: str, names: Sequence[str] = ()) -> None:
    _sign(state.pki, user, subject, names)
    state.kubeconfig(user).write_text(json.dumps(kubeconfig(state, user), indent=2) + "\n")


def _new_key(path: Path) -> None:
    shell.output("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _sign(pki: Path, name: str, subject: str, names: Sequence[str] = ()) -> None:
    key, request, certificate, extensions = (pki / f"{name}.{suffix}" for suffix in ("key", "csr", "crt", "ext"))
    _new_key(key)
    extensions.write_text(extension_file(names))
    shell.output("openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request)
    shell.output(
        *("openssl", "x509", "-req", "-in", request, "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key"),
        *("-CAcreateserial", "-days", DAYS, "-extfile", extensions, "-out", certificate),
    )


def extension_file(names: Sequence[str]) -> str:
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if names:
        lines.append(f"subjectAltName={','.join(names)}")
    return "\n".join(lines) + "\n"


def _create_token_key(pki: Path) -> None:
    """RSA, as nearly every cluster has it, so that whoever verifies tokens here does so as elsewhere."""
    shell.output("openssl", "genrsa", "-out", pki / "sa.key", "2048")
    shell.output("openssl", "rsa", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub")


def kubeconfig(state: State, user: str) -> dict[str, object]:
    cluster = {"server": network.API_URL, "certificate-authority": str(state.pki / "ca.crt")}
    credentials = {"client-certificate": str(state.pki / f"{user}.crt"), "client-key": str(state.pki / f"{user}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "snakepit", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "snakepit", "context": {"cluster": "snakepit", "user": user}}],
        "current-context": "snakepit",
    }
