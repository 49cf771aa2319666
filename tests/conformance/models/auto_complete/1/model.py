"""Has no config.pbtxt: everything is said in auto_complete_config. Doubles INPUT."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(4)
        config.add_input({"name": "INPUT", "data_type": "TYPE_FP32", "dims": [2]})
        config.add_output({"name": "OUTPUT", "data_type": "TYPE_FP32", "dims": [2]})
        config.set_dynamic_batching()
        return config

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor(
                        "OUTPUT",
                        pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy() * 2,
                    )
                ]
            )
            for request in requests
        ]
