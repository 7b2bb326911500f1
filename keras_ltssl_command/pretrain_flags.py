"""The flags of `keras-ltssl pretrain`."""

from absl import flags

from keras_ltssl_command.protocol_files import PROTOCOLS


def define_pretrain(values: flags.FlagValues) -> None:
    """Defines the flags in a `FlagValues`."""

    def text(name: str, default: str | None, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    def choice(
        name: str, default: str, options: list[str], meaning: str
    ) -> None:
        flags.DEFINE_enum(name, default, options, meaning, flag_values=values)

    def integer(
        name: str, default: int | None, least: int, meaning: str
    ) -> None:
        flags.DEFINE_integer(
            name, default, meaning, lower_bound=least, flag_values=values
        )

    def number(name: str, default: float | None, meaning: str) -> None:
        flags.DEFINE_float(name, default, meaning, flag_values=values)

    def yes_or_no(name: str, default: bool, meaning: str) -> None:
        flags.DEFINE_bool(name, default, meaning, flag_values=values)

    text("output", "run", "Folder of the run. A run in it goes on.")
    text(
        "protocol",
        None,
        f"The settings of a published set: {', '.join(PROTOCOLS)}; or a file "
        "of flags, one a line. Flags of the command line come before them.",
    )
    text(
        "train",
        None,
        "List of the images to train on, with lines such as `fox/1.jpg 0`: a "
        "path in the folder and a label, which only the report uses. Without "
        "it, all images in the folder.",
    )
    text(
        "probe",
        None,
        "List of labeled images to train probes on, for the report. It goes "
        "with --train and --test.",
    )
    text("test", None, "List of labeled images to test the probes on.")
    integer("shots", 10, 1, "Labels of each class for the few-shot probe.")
    integer("draws", 5, 1, "Draws of the few-shot probe.")
    choice(
        "groups",
        "thresholds",
        ["thresholds", "thirds"],
        "What classes with many and few images are: above 100 and below 20 "
        "training images, or thirds of the classes.",
    )
    text("image_size", "64", "Size in pixels: 64, or height x width: 48x64.")
    choice("color_mode", "rgb", ["rgb", "grayscale"], "Colors of the images.")
    choice(
        "on_error",
        "skip",
        ["skip", "raise"],
        "Whether to leave out files that cannot be read, or to stop.",
    )
    text(
        "labels",
        None,
        "CSV file with the columns path and label, for some or all images. "
        "Only the report uses them.",
    )
    yes_or_no(
        "folder_labels",
        False,
        "Whether the first subfolder of an image is its label, as in "
        "photos/fox/1.jpg.",
    )
    text(
        "method",
        "plain",
        "plain, focal or tase; with any of ts, gh and bcl, joined by +.",
    )
    choice(
        "framework",
        "simclr",
        ["simclr", "moco", "byol", "sdclr"],
        "What the method plugs into.",
    )
    text(
        "backbone",
        "small_convnet",
        "The encoder: small_convnet; resnet18; a network of keras.applications "
        "such as mobilenetv2; or a preset of keras-hub. All but the first "
        "need a GPU.",
    )
    text(
        "weights",
        "none",
        "What the encoder begins with: none; imagenet, for a network of "
        "keras.applications; preset, for one of keras-hub; or a file of "
        "weights.",
    )
    integer("epochs", 100, 1, "How often each image is seen.")
    integer("batch_size", 128, 2, "Images that are compared with each other.")
    number(
        "temperature",
        0.2,
        "Temperature of the loss. Try 0.1 and 0.4, too: it matters most.",
    )
    number(
        "temperature_min",
        None,
        "Smallest temperature of ts. Default: half of --temperature.",
    )
    number(
        "temperature_max",
        None,
        "Largest temperature of ts. Default: one and a half of --temperature.",
    )
    number(
        "period",
        None,
        "Epochs in a cycle of ts. Default: a fifth of them, at least 3.",
    )
    integer(
        "gh_warmup", None, 1, "Epochs before gh begins. Default: half of them."
    )
    integer(
        "gh_ramp",
        None,
        0,
        "Epochs until gh has all its weight. Default: a hundredth of them.",
    )
    integer(
        "queue_size",
        None,
        1,
        "Keys in the queue of moco. Default: 4096, or one for each image.",
    )
    number(
        "pruned_share",
        None,
        "Share of weights that sdclr's second branch lacks. Default: 0.9.",
    )
    number("smallest_crop", 0.1, "Smallest share of an image's area in a view.")
    number("blur", 0.0, "Probability of blur in a view.")
    number(
        "rand_augment",
        0.25,
        "How much stronger than SimCLR's the views are, from 0 to 1.",
    )
    yes_or_no("horizontal_flip", True, "Whether views may be mirrored.")
    choice("optimizer", "adamw", ["adamw", "sgd"], "The optimizer.")
    number("learning_rate", 0.002, "Its largest learning rate.")
    number("weight_decay", 1e-4, "Its weight decay.")
    integer(
        "warmup_epochs",
        None,
        0,
        "Epochs in which the learning rate rises. Default: a twentieth of the "
        "steps.",
    )
    choice(
        "precision",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Keras' dtype policy. The mixed ones are faster on GPUs.",
    )
    integer("seed", 0, 0, "Seed of everything random.")
    integer("workers", 4, 0, "Threads that read images ahead.")
