"""Settings of the neural models and of their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tomopipe.config.base import Section, Seed


class TrainingSettings(Section):
    """What training is, whichever network is trained."""

    undecided = frozenset({"device", "checkpoint_minutes", "tensorboard", "memory_gb"})

    epochs: int = Field(30, ge=1, description="passes over the particles")
    batch: int = Field(4, ge=1, description="particles per step, over all processes")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate of AdamW")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="course of the learning rate after the warm-up"
    )
    warmup: float = Field(
        0.03, ge=0, le=0.5, description="share of all steps in which the rate rises from 0"
    )
    adam_epsilon: float = Field(1e-8, gt=0, description="epsilon of AdamW (tomoDRGN: 1e-4)")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 = not clipped")
    fraction: float = Field(
        0.45, gt=0, le=1, description="share of the coefficients drawn anew in each step"
    )
    hidden: int = Field(256, ge=8, multiple_of=8, description="width of the decoder (units)")
    layers: int = Field(3, ge=1, description="residual layers of the decoder")
    feature_sigma: float = Field(
        1.0,
        gt=0,
        description="spread of the decoder's Gaussian features (of half the box; tomoDRGN: 0.5)",
    )
    damage: bool = Field(
        True,
        description="expect the signal to fade with dose and weigh noise evenly; otherwise the "
        "signal stays and late doses weigh less (tomoDRGN)",
    )
    warm_start: bool = Field(
        True,
        description="let the network learn the difference from the linear model or, without one, "
        "from the consensus map; false: the whole volume",
    )
    dtype: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="precision of the decoder's matrix products, all else is float32; auto: "
        "bfloat16 where the hardware has it; tf32: float32 with rounded factors on NVIDIA GPUs",
    )
    deterministic: bool = Field(
        True,
        description="the same numbers every time on a GPU too, at some cost; a CPU gives them "
        "anyway",
    )
    compile: Literal["off", "auto", "on"] = Field(
        "off",
        description="let torch compile the decoder's step: needs a C++ compiler (CPU) or Triton "
        "(GPU); auto: on a GPU, and not where that fails",
    )
    memory_gb: float | None = Field(
        None,
        ge=0,
        description="memory of the device that the packed store may take (GB), so that no step "
        "waits for a disk; null = half of a GPU's free memory; 0 = none",
    )
    validation_fraction: float = Field(
        0.1, ge=0, le=0.5, description="share of each particle's tilts held out of training"
    )
    validation_particles: int = Field(
        2000,
        ge=1,
        description="particles (at most) on which the held-out loss of an epoch is taken",
    )
    seed: Seed = Field(0, description="seed of weights, draws and held-out tilts")
    device: str = Field(
        "auto", description="auto, cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:\d+)?)$"
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="a checkpoint at least this often (minutes), and after every epoch"
    )
    tensorboard: bool = Field(
        False,
        description="write TensorBoard event files: in the state, beside the model when it is done",
    )

    @property
    def wants_gpu(self) -> bool:
        """Whether the training would use a GPU."""
        return self.device != "cpu"


class HomogeneousSettings(TrainingSettings):
    """One map of all particles, as a network over frequencies."""

    epochs: int = Field(15, ge=1, description="passes over the particles")
    batch: int = Field(1, ge=1, description="particles per step, over all processes")
    warm_start: bool = Field(
        False,
        description="let the network learn the difference from the consensus map, if given; "
        "otherwise only the map's amplitude per shell is used, and the network's map is its own",
    )


class HeterogeneousSettings(TrainingSettings):
    """One map for each point of a latent space: a variational autoencoder."""

    zdim: int = Field(8, ge=1, description="dimensions of the latent space")
    objective: Literal["split", "reference"] = Field(
        "split",
        description="split: encode some tilts, predict the others; reference: encode and predict "
        "the same tilts (tomoDRGN)",
    )
    encode_fraction: float = Field(
        0.5, gt=0, lt=1, description="share of a particle's tilts that a split step encodes"
    )
    encoder: Literal["volume", "tilts"] = Field(
        "volume",
        description="volume: the encoder reads the particle's tilts back-projected at low "
        "resolution; tilts: every tilt by itself, then pooled (tomoDRGN)",
    )
    pooling: Literal["mean", "max", "median", "attention", "concatenate", "set_transformer"] = (
        Field("mean", description="how the encoder 'tilts' joins the tilts of a particle")
    )
    encoder_radius: int = Field(
        8, ge=0, description="highest frequency that the encoder reads (Fourier pixels); 0 = all"
    )
    encoder_components: int = Field(
        16,
        ge=1,
        le=64,
        description="linear components that the encoder 'volume' reads; where it begins from a "
        "linear model, that model's first zdim",
    )
    encoder_prior: float = Field(
        0.05, gt=0, description="prior variance of those components, of the mean map's power"
    )
    encoder_hidden: int = Field(
        256, ge=8, multiple_of=8, description="width of the encoder (units)"
    )
    encoder_layers: int = Field(3, ge=1, description="residual layers of each encoder network")
    tilt_features: int = Field(128, ge=4, multiple_of=4, description="numbers kept of each tilt")
    beta: float | None = Field(
        None, ge=0, description="weight of the Kullback-Leibler term; null = 1 / zdim"
    )
    linear_epochs: int = Field(
        5,
        ge=0,
        description="epochs in which the encoder 'tilts' alone learns the linear model's latents",
    )
    snapshot_weights: int = Field(
        0, ge=0, description="how many of the last epochs keep their decoder; 0 = all"
    )
    stop: Literal["never", "converged"] = Field(
        "never", description="when training ends before its last epoch"
    )

    @model_validator(mode="after")
    def _radius(self) -> HeterogeneousSettings:
        if self.encoder == "volume" and self.encoder_radius == 0:
            raise ValueError("encoder_radius must be at least 1 with encoder: volume")
        return self

    @classmethod
    def reference(cls, **changes: object) -> HeterogeneousSettings:
        """Give tomoDRGN's settings (SCIENCE: "The reference model"), with `changes`."""
        values: dict[str, object] = {
            "zdim": 128,
            "objective": "reference",
            "encoder": "tilts",
            "encoder_radius": 0,
            "pooling": "concatenate",
            "epochs": 50,
            "batch": 1,
            "learning_rate": 2e-4,
            "schedule": "constant",
            "warmup": 0.0,
            "adam_epsilon": 1e-4,
            "clip": 0.0,
            "fraction": 1.0,
            "damage": False,
            "feature_sigma": 0.5,
            "warm_start": False,
            "linear_epochs": 0,
            "dtype": "float32",
        }
        return cls.model_validate(values | changes)
