"""Owns the command lines of the control plane: what each component is told, and nothing about when it starts."""

from pathlib import Path

from localcluster import network
from localcluster.paths import State

ETCD_URL = "http://127.0.0.1:2379"
ISSUER = f"https://kubernetes.default.svc.{network.DOMAIN}"


def etcd(state: State) -> list[str | Path]:
    """Without fsync: this data need not survive the machine, and its disk may be slow."""
    return [
        state.bin / "etcd",
        f"--data-dir={state.root / 'etcd'}",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
    ]


def api_server(state: State) -> list[str | Path]:
    return [
        state.bin / "kube-apiserver",
        f"--etcd-servers={ETCD_URL}",
        f"--advertise-address={network.SERVER}",
        f"--service-cluster-ip-range={network.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        *_api_server_certificates(state.pki),
        *_service_account_tokens(state.pki),
        *_aggregation(state.pki),
    ]


def _api_server_certificates(pki: Path) -> list[str]:
    return [
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        # Otherwise `exec` and `logs` look the node's name up in DNS, which does not know it.
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _service_account_tokens(pki: Path) -> list[str]:
    return [
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--service-account-issuer={ISSUER}",
        # The default names the server's own address; this one is what a pod can verify.
        f"--service-account-jwks-uri={ISSUER}/openid/v1/jwks",
    ]


def _aggregation(pki: Path) -> list[str]:
    return [
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
    ]


def controller_manager(state: State) -> list[str | Path]:
    """It calls a node dead after 8 s instead of 40, and an HPA looks every 5 s instead of 15: tests wait for that."""
    return [
        state.bin / "kube-controller-manager",
        f"--kubeconfig={state.kubeconfig('kube-controller-manager')}",
        "--leader-elect=false",
        f"--service-account-private-key-file={state.pki / 'sa.key'}",
        f"--root-ca-file={state.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={state.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={state.pki / 'ca.key'}",
        "--use-service-account-credentials",
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=8s",
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]


def scheduler(state: State) -> list[str | Path]:
    return [state.bin / "kube-scheduler", f"--kubeconfig={state.kubeconfig('kube-scheduler')}", "--leader-elect=false"]


def coredns(state: State) -> list[str | Path]:
    return [state.bin / "coredns", "-conf", state.root / "Corefile"]


def corefile(state: State) -> str:
    """Serves the cluster's own names; there is no outside to forward the others to."""
    return f""".:53 {{
    errors
    ready
    kubernetes {network.DOMAIN} {{
        kubeconfig {state.kubeconfig()}
        pods verified
    }}
    cache 5
}}
"""


def kube_proxy(state: State, host_name: str) -> list[str | Path]:
    return [
        state.bin / "kube-proxy",
        f"--kubeconfig={state.kubeconfig('kube-proxy')}",
        f"--hostname-override={host_name}",
        f"--cluster-cidr={network.POD_RANGE}",
        # In tables of its own: kube-router writes those of iptables as a whole.
        "--proxy-mode=nftables",
        # Three settings of the machine's kernel that a namespace may not write.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]


def kube_router(state: State, host_name: str) -> list[str | Path]:
    """A node's NetworkPolicies. It looks each node and pod up, as kube-proxy may not."""
    return [
        state.bin / "kube-router",
        f"--kubeconfig={state.kubeconfig()}",
        f"--hostname-override={host_name}",
        f"--service-cluster-ip-range={network.SERVICE_RANGE}",
    ]
