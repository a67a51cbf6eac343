"""Starts ministack, with three things added that it lacks and that no template can give it. Runs in the
emulator's own Python environment (`tests/cloud/requirements.txt`).

Each addition is a function that names the gap. `adaptations.py` shows at the start of every run that
the emulator still has the gap: a function whose environment has UNADAPTED=1, a stack whose name
begins with `unadapted-`, and a template whose Metadata has `Unadapted`, get the emulator as it is.
"""

import hashlib
import io
import logging
import os
import subprocess
import tempfile
import zipfile

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import apigateway_v1, lambda_svc
from ministack.services.cloudformation import changesets, engine, handlers, provisioners


def layers_are_mounted_at_opt() -> None:
    """A function with a custom runtime (`provided.*`) sees nothing of its layers in the emulator. Here each
    process gets the layers of its own version at /opt, read from the emulator's own store, in a mount
    namespace of its own; so an old version goes on with the old layer, as on AWS."""
    of_environment = lambda_svc._provided_worker_env
    folder = tempfile.mkdtemp(prefix="layers-")

    def environment(config, code_dir, port):
        made = of_environment(config, code_dir, port)
        layers = [lambda_svc._resolve_layer_zip(layer) for layer in config.get("Layers") or []]
        if layers and made.get("UNADAPTED") != "1":
            made["OPT"] = unpacked(folder, layers)
        return made

    class Subprocess:
        """The module `subprocess`, with another `Popen`."""

        def __getattr__(self, name):
            return getattr(subprocess, name)

        def Popen(self, command, **options):  # noqa: N802
            opt = (options.get("env") or {}).pop("OPT", None)
            if opt:
                mount = 'mount --bind "$0" /opt && exec "$@"'
                command = ["unshare", "--mount", "sh", "-c", mount, opt, *command]
            return subprocess.Popen(command, **options)

    lambda_svc._provided_worker_env = environment
    lambda_runtime.subprocess = Subprocess()


def unpacked(folder: str, layers: list[bytes]) -> str:
    """The folder with the content of these layers, the later over the earlier."""
    name = hashlib.sha256(b"".join(hashlib.sha256(layer).digest() for layer in layers)).hexdigest()
    place = os.path.join(folder, name)
    if not os.path.isdir(place):
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            for layer in layers:
                zipfile.ZipFile(io.BytesIO(layer)).extractall(unfinished)
            try:
                os.rename(unfinished, place)
                os.mkdir(unfinished)
            except OSError:
                pass  # Another thread was first.
    return place


def a_changed_body_is_imported_into_the_same_rest_api() -> None:
    """CloudFormation imports a changed `Body` over the REST API that is there (PutRestApi). The emulator makes
    another API with another id and deletes the first, so that for a moment nothing answers. Here what was
    imported takes the place of what the API had."""
    update = provisioners._apigw_rest_api_update

    def in_place(physical_id, old, new, stack_name, logical_id=None):
        if new.get("Body") == old.get("Body") or stack_name.startswith("unadapted-"):
            return update(physical_id, old, new, stack_name, logical_id)
        made, _ = provisioners._apigw_rest_api_create(logical_id or physical_id, new, stack_name)
        before = dict(apigateway_v1._authorizers_v1.get(physical_id, {}))
        # Both generations of authorizers are known while the methods change over from one to the other.
        apigateway_v1._authorizers_v1[physical_id] = before | apigateway_v1._authorizers_v1[made]
        apigateway_v1._resources[physical_id] = apigateway_v1._resources[made]
        apigateway_v1._authorizers_v1[physical_id] = apigateway_v1._authorizers_v1[made]
        apigateway_v1._delete_rest_api(made)
        rest = {name: value for name, value in new.items() if name != "Body"} | {"Body": old.get("Body")}
        return update(physical_id, old, rest, stack_name, logical_id)

    provisioners._apigw_rest_api_update = in_place
    for handlers in vars(provisioners).values():
        if isinstance(handlers, dict) and isinstance(handlers.get("AWS::ApiGateway::RestApi"), dict):
            handlers["AWS::ApiGateway::RestApi"]["update"] = in_place


def conditions_may_split_and_join() -> None:
    """In `Conditions` the emulator resolves `Ref` and little else, and takes what is left for a list. Here `Select`,
    `Split`, `Join` and `Sub` over parameters are resolved before, by its own functions for properties."""
    evaluate = engine._evaluate_conditions

    def evaluated(template, params):
        def resolve(value):
            if isinstance(value, list):
                return [resolve(part) for part in value]
            if not isinstance(value, dict):
                return value
            if set(value) <= {"Fn::Select", "Fn::Split", "Fn::Join", "Fn::Sub"}:
                return engine._resolve_refs(value, {}, params, {}, template.get("Mappings", {}), "", "")
            return {key: resolve(part) for key, part in value.items()}

        if (template.get("Metadata") or {}).get("Unadapted"):
            return evaluate(template, params)
        return evaluate(template | {"Conditions": resolve(template.get("Conditions", {}))}, params)

    for module in (engine, changesets, handlers):
        module._evaluate_conditions = evaluated


if __name__ == "__main__":
    layers_are_mounted_at_opt()
    a_changed_body_is_imported_into_the_same_rest_api()
    conditions_may_split_and_join()
    logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)
    app.main()
