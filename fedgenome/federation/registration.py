"""Whether a SuperLink knows a relay's key: asked with a question that changes nothing there.

Flower refuses a node that it does not know and one that is online already with the same words. It looks for the
key before it looks at the interval of heartbeats, and at that before it lets the node in: a wrong interval tells
which of the two it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedgenome.errors import RoleError, SpecError

_NO_INTERVAL = -1.0

Standing = Literal["registered", "unknown", "turned away"]


def standing(address: str, authority: Path, node_key: Path) -> Standing:
    """Return what a SuperLink makes of a node key.

    Args:
        address: The SuperLink's host:port.
        authority: ``ca.crt``.
        node_key: The relay's private key, in OpenSSH's format.

    Returns:
        ``unknown``: not registered; ``turned away``: its signature or its time does not count.

    Raises:
        SpecError: the file is no such key.
        RoleError: the SuperLink gave no answer that tells.
    """
    private = _private(node_key)
    public = private.public_key()
    signed = (RuntimeVersionHttpInterceptor(component_name="SuperNode"), NodeAuthHttpInterceptor(private, public))
    asked = ActivateNodeRequest(public_key=public_key_to_bytes(public), heartbeat_interval=_NO_INTERVAL)
    try:
        with FleetHttpClient.from_server_address(address, False, authority.read_bytes(), interceptors=signed) as client:
            client.ActivateNode(asked)
    except httpx.HTTPStatusError as fault:
        if fault.response.status_code == httpx.codes.UNAUTHORIZED:
            return "turned away"
        error = FlowerError.from_json(fault.response.text)
        if error is not None and error.code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
            return "registered"
        if error is not None and error.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            return "unknown"
    except httpx.HTTPError as fault:
        raise RoleError(f"{address}: {type(fault).__name__}") from None
    raise RoleError(f"{address}: expected an answer of Flower 1.41")


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SpecError(f"{path}: expected a relay's private key, made by: fedgenome keys request")
    return key
