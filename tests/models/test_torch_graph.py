import copy

import keras
import numpy as np
import pytest
from keras import layers

import keras_ltssl as lt

if keras.backend.backend() != "torch":
    pytest.skip("Only PyTorch runs such graphs.", allow_module_level=True)

import torch

SHAPE = (9, 8, 3)


def network(**normalization):
    """Two inputs, two outputs, lists of tensors, and a layer used twice."""
    image, other = keras.Input(SHAPE, dtype="uint8"), keras.Input(SHAPE)
    shared = layers.Conv2D(4, 3, padding="same", activation="relu")
    x = shared(layers.Rescaling(1 / 127.5, offset=-1)(image))
    y = layers.BatchNormalization(**normalization)(shared(other))
    x = layers.Add()([x, y])
    x = layers.Concatenate()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D()(layers.ZeroPadding2D()(x))
    z = layers.GlobalAveragePooling2D()(x)
    return keras.Model([image, other], [layers.Dense(5)(z), z])


def two_of(make):
    """Returns a network that runs as a plain graph, and one of Keras' calls.

    Both have PyTorch's kernels in their layers, so they compute the same.
    """
    ours, theirs = make(), make()
    random = np.random.default_rng(0)
    weights = [random.uniform(0.5, 1.5, w.shape) for w in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    for model in (ours, theirs):
        lt.models.use_torch_kernels(model)
        assert "call" in vars(model)
    del theirs.call
    return ours, theirs


def images(dtype="float32"):
    random = np.random.default_rng(1)
    return [
        torch.tensor(random.integers(0, 256, (6, *SHAPE)).astype("uint8")),
        torch.tensor(random.normal(size=(6, *SHAPE)).astype(dtype)),
    ]


def trained(model, inputs, **arguments):
    outputs = model(inputs, **arguments)
    sum((each.float() ** 2).sum() for each in outputs).backward()
    return [
        *outputs,
        *(w.value.grad for w in model.trainable_weights),
        *(w.value for w in model.non_trainable_weights),
    ]


@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_values_gradients_and_statistics_are_those_of_keras(
    training, is_frozen
):
    ours, theirs = two_of(network)
    for model in (ours, theirs):
        model.layers[-5].trainable = not is_frozen
    found = trained(ours, images(), training=training)
    expected = trained(theirs, images(), training=training)
    for value, wanted in zip(found, expected, strict=True):
        assert value.dtype == wanted.dtype
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_dtypes_are_those_of_keras(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        ours, theirs = two_of(network)
    finally:
        keras.config.set_dtype_policy(before)
    found = trained(ours, images(), training=True)
    expected = trained(theirs, images(), training=True)
    for value, wanted in zip(found, expected, strict=True):
        assert value.dtype == wanted.dtype
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_the_method_call_itself_computes_as_that_of_keras():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        ours, theirs = two_of(network)
    finally:
        keras.config.set_dtype_policy(before)
    for value, wanted in zip(
        ours.call(images()), theirs.call(images()), strict=True
    ):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_looking_for_plain_layers_uses_up_no_names_of_models():
    keras.backend.clear_session()
    lt.models.use_torch_kernels(keras.layers.ReLU())
    assert of_layers(layers.ReLU()).name == "functional"


@pytest.mark.parametrize("training", [True, False, None])
def test_a_training_mode_of_the_graph_is_kept(training):
    def make():
        image = keras.Input(SHAPE)
        y = layers.BatchNormalization()(image, training=True)
        return keras.Model(image, [layers.ReLU()(y), y])

    ours, theirs = two_of(make)
    x = images()[1]
    for value, wanted in zip(
        trained(ours, x, training=training),
        trained(theirs, x, training=training),
        strict=True,
    ):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_the_layers_are_called_without_the_checks_of_keras(monkeypatch):
    encoder = lt.models.resnet18((8, 8, 3))
    images = torch.zeros((2, 8, 8, 3), dtype=torch.uint8)
    called, call = [], layers.Layer.__call__

    def watched(self, *arguments, **keywords):
        called.append(self)
        return call(self, *arguments, **keywords)

    monkeypatch.setattr(layers.Layer, "__call__", watched)
    encoder(images)
    assert len(called) > 60
    lt.models.use_torch_kernels(encoder)
    called.clear()
    encoder(images)
    assert called == [encoder]
    lt.models.use_torch_kernels(encoder, False)
    called.clear()
    encoder(images)
    assert len(called) > 60


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [layers.Conv2D(4, 3, activation="softmax"), layers.Flatten()],
        lambda: [layers.DepthwiseConv2D(3, activation="gelu"), layers.Dense(3)],
        lambda: [layers.Conv2D(4, 3, strides=2), layers.Reshape((-1,))],
        lambda: [layers.AveragePooling2D(2), layers.Activation("softmax")],
        lambda: [layers.AveragePooling2D(2, padding="same"), layers.ReLU(2.0)],
        lambda: [layers.GlobalAveragePooling2D(keepdims=True)],
        lambda: [layers.BatchNormalization(axis=2), layers.Flatten()],
        lambda: [layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()],
    ],
)
def test_layers_that_look_at_the_last_axis_are_given_channels_there(stack):
    ours, theirs = two_of(lambda: of_layers(layers.Conv2D(6, 3), *stack()))
    x = images()[1]
    for value, wanted in zip(trained(ours, x), trained(theirs, x), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_projection_head_computes_as_by_keras(
    policy, batch_norm, training, monkeypatch
):
    def make():
        head = lt.layers.ProjectionHead(8, 12, batch_norm, dtype=policy)
        head.build((None, 6))
        return head

    ours, theirs = two_of(make)
    features = torch.randn(5, 6, generator=torch.manual_seed(0))
    for value, wanted in zip(
        trained(ours, features, training=training),
        trained(theirs, features, training=training),
        strict=True,
    ):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6)
    called, call = [], layers.Layer.__call__

    def watched(self, *arguments, **keywords):
        called.append(self)
        return call(self, *arguments, **keywords)

    monkeypatch.setattr(layers.Layer, "__call__", watched)
    ours(features)
    assert called == [ours]


def test_keras_finds_the_shape_of_projections_without_computing_them():
    # Where the call fails on stand-ins, Keras calls it on zeros.
    head = lt.layers.ProjectionHead(4)
    head.build((None, 6))
    lt.models.use_torch_kernels(head)
    stand_in = torch.zeros(5, 6, device="meta")
    with keras.StatelessScope():
        assert head.call(stand_in).shape == (5, 4)


def test_a_projection_head_with_its_own_call_keeps_it():
    class Doubled(lt.layers.ProjectionHead):
        def call(self, features, training=None):
            return 2 * super().call(features, training)

    head = Doubled(4)
    head.build((None, 6))
    features = torch.randn(5, 6)
    wanted = head(features)
    lt.models.use_torch_kernels(head)
    torch.testing.assert_close(head(features), wanted, rtol=0, atol=0)


class OwnLayer(layers.ReLU):
    pass


class OwnModel(keras.Model):
    pass


def of_layers(*stack):
    inputs = keras.Input(SHAPE)
    outputs = inputs
    for layer in stack:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def own_model():
    inputs = keras.Input(SHAPE)
    return OwnModel(inputs, layers.ReLU()(inputs))


def masked_model():
    image, mask = keras.Input(SHAPE), keras.Input(SHAPE[:2], dtype="bool")
    return keras.Model(
        [image, mask], layers.BatchNormalization()(image, mask=mask)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_layers(layers.ReLU(), layers.Dropout(0.5)),
        lambda: of_layers(layers.Masking(), layers.BatchNormalization()),
        lambda: of_layers(layers.Dense(3, activity_regularizer="l2")),
        lambda: of_layers(layers.ReLU(), layers.ReLU(dtype="float16")),
        lambda: of_layers(layers.ReLU(), layers.ReLU(autocast=False)),
        lambda: of_layers(OwnLayer()),
        lambda: of_layers(of_layers(layers.ReLU())),
        own_model,
        masked_model,
    ],
    ids=[
        *("dropout", "masks", "regularizer", "dtypes", "autocast"),
        *("own layer", "nested", "own model", "mask of the graph"),
    ],
)
def test_any_other_network_stays_with_keras(make):
    model = make()
    lt.models.use_torch_kernels(model)
    assert "call" not in vars(model)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_samples_with_a_mask_are_left_to_keras():
    ours, theirs = two_of(lambda: of_layers(layers.BatchNormalization()))
    x = images()[1]
    mask = torch.zeros((6, 9, 8), dtype=torch.bool)
    mask[:, ::2] = True
    x._keras_mask = mask
    torch.testing.assert_close(ours(x, training=True), theirs(x, training=True))
    for value, wanted in zip(ours.weights, theirs.weights, strict=True):
        torch.testing.assert_close(value.value, wanted.value)


def test_hooks_of_layers_run():
    model, seen = network(), []
    lt.models.use_torch_kernels(model)
    model.layers[-1].register_forward_hook(lambda *_: seen.append("after"))
    model.layers[-2].register_forward_pre_hook(lambda *_: seen.append("before"))
    model(images())
    assert sorted(seen) == ["after", "before"]


def test_values_that_stand_for_variables_are_used_and_returned():
    ours, theirs = two_of(network)
    random = np.random.default_rng(2)
    passed = [
        [torch.tensor(random.uniform(0.5, 1.5, v.shape)).float() for v in group]
        for group in (ours.trainable_variables, ours.non_trainable_variables)
    ]
    found, expected = (
        model.stateless_call(*passed, images(), training=True)
        for model in (ours, theirs)
    )
    for value, wanted in zip(
        keras.tree.flatten(found), keras.tree.flatten(expected), strict=True
    ):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_a_layer_that_gets_more_weights_later_uses_them():
    ours, theirs = two_of(
        lambda: of_layers(layers.Conv2D(4, 3), layers.Conv2D(2, 1))
    )
    x = images()[1]
    before = ours(x)
    for model in (ours, theirs):
        layer = model.layers[1]
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
        layer.lora_kernel_a.assign(np.ones(layer.lora_kernel_a.shape))
    after = ours(x)
    torch.testing.assert_close(after, theirs(x), rtol=0, atol=0)
    assert not torch.equal(after, before)


@pytest.mark.parametrize(
    "arguments",
    [{"max_value": 0.5}, {"negative_slope": 0.1}, {"threshold": 0.2}],
    ids=str,
)
def test_arguments_of_a_relu_count(arguments):
    ours, theirs = two_of(lambda: of_layers(layers.ReLU(**arguments)))
    x = images()[1]
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    assert not torch.equal(ours(x), torch.relu(x))


def test_tensors_of_other_ranks_are_added_as_by_keras():
    def make():
        image, row = keras.Input(SHAPE), keras.Input(SHAPE[1:])
        return keras.Model([image, row], layers.Add()([image, row]))

    ours, theirs = two_of(make)
    x = images()[1]
    torch.testing.assert_close(ours([x, x[:, 0]]), theirs([x, x[:, 0]]))


def test_padding_with_the_channels_first_is_that_of_keras():
    ours, theirs = two_of(
        lambda: of_layers(
            layers.ZeroPadding2D(((1, 2), (3, 4)), data_format="channels_first")
        )
    )
    x = images()[1]
    assert ours(x).shape == (6, 9, 11, 10)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


def test_sides_of_padding_are_not_mixed_up():
    ours, theirs = two_of(
        lambda: of_layers(layers.ZeroPadding2D(((1, 2), (3, 4))))
    )
    x = images()[1]
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_network_that_is_quantized_later_computes_so():
    ours, theirs = two_of(lambda: of_layers(layers.ReLU(), layers.Dense(64)))
    x = images()[1]
    before = ours(x)
    for model in (ours, theirs):
        model.quantize("int8")
    after = ours(x)
    torch.testing.assert_close(after, theirs(x), rtol=0, atol=0)
    assert not torch.equal(after, before)


def test_a_layer_that_recomputes_is_called_by_keras():
    with keras.RematScope("full"):
        layer = layers.Dense(3)
    model, called = of_layers(layer), []
    lt.models.use_torch_kernels(model)
    layer.rematerialized_call = lambda call, *_: called.append(0) or call
    model(images()[1])
    assert called == [0]


def test_copies_and_saved_files_run_as_keras_runs_them(tmp_path):
    model = network()
    lt.models.use_torch_kernels(model)
    model.save(tmp_path / "model.keras")
    for other in (
        copy.deepcopy(model),
        keras.models.clone_model(model),
        keras.saving.load_model(tmp_path / "model.keras"),
    ):
        assert "call" not in vars(other)
        assert [each.shape for each in other(images())] == [(6, 5), (6, 8)]


def test_arrays_and_symbolic_inputs_are_taken():
    ours, theirs = two_of(network)
    arrays = [each.numpy() for each in images()]
    for value, wanted in zip(ours(arrays), theirs(arrays), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)
    for value, wanted in zip(
        ours.predict(arrays, verbose=0),
        theirs.predict(arrays, verbose=0),
        strict=True,
    ):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)
    symbolic = ours([keras.Input(SHAPE, dtype="uint8"), keras.Input(SHAPE)])
    assert [each.shape for each in symbolic] == [(None, 5), (None, 8)]
