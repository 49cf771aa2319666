"""`pb_utils.ModelConfig`: what `auto_complete_config` gets, fills in and returns."""

import json
from collections.abc import Mapping
from typing import Any, final

_UNTYPED = "TYPE_INVALID"


@final
class ModelConfig:
    """A configuration that a model may complete, made from its JSON.

    Everything that contradicts the configuration raises ValueError: what was given stays given.
    """

    def __init__(self, model_config: str) -> None:
        config: dict[str, Any] = json.loads(model_config)
        config.setdefault("name", "")
        config.setdefault("max_batch_size", 0)
        for kind in ("input", "output"):
            for tensor in config.setdefault(kind, []):
                tensor.setdefault("data_type", _UNTYPED)
                tensor.setdefault("dims", [])
        self._model_config = config

    def as_dict(self) -> dict[str, Any]:
        """The configuration as it stands."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set the largest batch; the configuration may not have a larger one."""
        given = self._model_config["max_batch_size"]
        if given > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {given}, but in auto-complete-config "
                f"function for model '{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Ask for the dynamic batcher; no other scheduler may be configured."""
        for other in ("sequence_batching", "ensemble_scheduling"):
            if other in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{other}', but "
                    f"auto-complete-config function for model '{self._name}' tries to set "
                    "scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:
        """Add an input: `name`, `data_type`, `dims` and maybe `optional`."""
        self._add("input", input, ("optional",), "'name', 'data_type', 'dims' and 'optional'")

    def add_output(self, output: Mapping[str, Any]) -> None:
        """Add an output: `name`, `data_type` and `dims`."""
        self._add("output", output, (), "'name', 'data_type' and 'dims'")

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, bool]) -> None:
        """Say whether the model is decoupled, when the configuration does not say otherwise."""
        if any(key != "decoupled" for key in transaction_policy_dict):
            raise ValueError(
                "model transaction property in auto-complete-config function for model "
                f"'{self._name}' contains property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" not in transaction_policy_dict:
            return
        asked = transaction_policy_dict["decoupled"]
        if policy.get("decoupled", asked) != asked:
            raise ValueError(
                "trying to change decoupled property in auto-complete-config for model "
                f"'{self._name}', which is already set to '{policy['decoupled']}'."
            )
        policy["decoupled"] = asked

    @property
    def _name(self) -> str:
        return str(self._model_config["name"])

    def _add(
        self, kind: str, tensor: Mapping[str, Any], extra: tuple[str, ...], allowed: str
    ) -> None:
        required = ("name", "data_type", "dims")
        which = f"{kind} '{tensor['name']}'" if "name" in tensor else kind
        where = f"{which} in auto-complete-config function for model '{self._name}'"
        if any(key not in (*required, *extra) for key in tensor):
            raise ValueError(f"{where} contains property other than {allowed}.")
        for key in required:
            if key not in tensor:
                raise ValueError(f"{where} is missing '{key}' property.")
        for given in self._model_config[kind]:
            if given["name"] == tensor["name"]:
                self._complete(kind, given, tensor)
                return
        self._model_config[kind].append(dict(tensor))

    def _complete(self, kind: str, given: dict[str, Any], tensor: Mapping[str, Any]) -> None:
        name = tensor["name"]
        if given["data_type"] not in {_UNTYPED, tensor["data_type"]}:
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype "
                f"{given['data_type']} for {kind} '{name}', model provides {tensor['data_type']}"
            )
        conflicts = [("dims", given["dims"], list(tensor["dims"]))] if given["dims"] else []
        if "optional" in given and "optional" in tensor:
            conflicts.append(("optional", given["optional"], tensor["optional"]))
        for key, found, expected in conflicts:
            if list(found) != expected if key == "dims" else found != expected:
                raise ValueError(
                    f"model '{self._name}', tensor '{name}': the model expects {key} {expected} "
                    f"but the model configuration specifies {key} {found}"
                )
        given.update(tensor)
