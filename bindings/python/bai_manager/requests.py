"""What ``Cluster.submit`` takes, as the create-session action that it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping

from .errors import BaiError, InvalidArgument
from .values import DEFAULT_IMAGE, a_list, a_mapping, command

if TYPE_CHECKING:
    from .cluster import User

__all__ = ["session_request"]

_AMOUNTS = {"cpu": "cpu", "mem": "mem", "gpus": "cuda.device"}
_OTHERS = {"slots", "duration", "exit_code", "timeout", "kernels", "user"}


def _amounts(given: Mapping[str, Any]) -> Dict[str, Any]:
    wanted = dict(a_mapping(given["slots"], "slots", "amounts")) if "slots" in given else {}
    wanted.update({slot: given[name] for name, slot in _AMOUNTS.items() if name in given})
    return wanted if wanted or "kernel_slots" in given else {"cpu": 1}


def _dependency(session: Any, session_id: "Callable[[Any], str]") -> str:
    try:
        return session_id(session)
    except BaiError as error:
        raise type(error)(f"dependencies: {error}", error.kind) from None


def session_request(arguments: Mapping[str, Any], user: "User", number: int,
                    session_id: "Callable[[Any], str]") -> Dict[str, Any]:
    """The action for these arguments of ``submit``, of which None is as good as absent.

    InvalidArgument for what its types already say is wrong; the manager judges the rest.
    """
    given = {name: value for name, value in a_mapping(arguments, "request", "submit's arguments").items()
             if value is not None}
    if "user" in given:
        raise InvalidArgument("request: the user is the same for all; give it as an argument of its own")
    request: Dict[str, Any] = {"name": f"session-{number:06d}", "image": DEFAULT_IMAGE, "reuse": False,
                               "domain": user.domain, "project": user.project, "slots": _amounts(given)}
    if "duration" in given:
        request["session_type"] = "batch"
        request["startup_command"] = command(given["duration"], given.get("exit_code", 0))
    if "timeout" in given:
        request["batch_timeout"] = given["timeout"]
    if "kernels" in given:
        request["cluster_size"] = given["kernels"]
    if "kernel_slots" in given:
        request["cluster_size"] = request.get("cluster_size", len(a_list(given["kernel_slots"], "kernel_slots", "dicts")))
    request.update({name: value for name, value in given.items() if name not in _AMOUNTS and name not in _OTHERS})
    if request.get("cluster_size", 1) != 1:
        request.setdefault("cluster_mode", "multi-node")
    if "agents" in request:
        request["agents"] = a_list(request["agents"], "agents", "ids")
    if "dependencies" in request:
        request["dependencies"] = [_dependency(one, session_id)
                                   for one in a_list(request["dependencies"], "dependencies", "sessions")]
    return request
