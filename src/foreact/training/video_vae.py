"""Training of a small video VAE from random weights on camera clips.

The run is a function of configuration and clips alone: step i draws its clips and its noise from generators
seeded with (seed, i), so a run that was cut off and resumed ends with the weights of one that was not.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from foreact.codecs.video_vae import FeatureCache, VideoVAE
from foreact.errors import ConfigurationError
from foreact.from_diffusers import AutoencoderKLWan, get_scheduler
from foreact.training.ranks import check_alone
from foreact.training.video_vae_checkpoint import restore_checkpoint, save_checkpoint
from foreact.training.video_vae_clips import ClipSampler, ClipSource
from foreact.training.video_vae_config import VideoVAETrainingConfig
from foreact.training.video_vae_loss import kl_divergence, psnr_db, reconstruction_loss, saliency

_LOG = logging.getLogger(__name__)
_NUM_HELD_OUT_FRAMES = 49
"""Frames per held-out clip: longer than those trained on, as the streams of a policy are."""
_NUM_STATISTICS_EPISODES = 24
_INITIAL_LOG_VARIANCE = -6.0
_LOG_VARIANCE_RANGE = (-20.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a VAE reconstructs held-out episodes."""

    psnr_db: float
    """Peak signal-to-noise ratio over all pixels, the mean over clips."""
    salient_psnr_db: float
    """The same over pixels that move or are unlike the mean picture."""


def train_video_vae(
    config: VideoVAETrainingConfig,
    clips: ClipSource,
    folder: Path | str,
    *,
    initial: VideoVAE | None = None,
    device: torch.device | str = "cpu",
    show_progress: bool = True,
) -> VideoVAE:
    """The trained VAE, also written to `folder`/vae, its held-out quality to `folder`/summary.json.

    Latent statistics are measured on training episodes, so that normalised latents have zero mean and unit
    variance per channel. Called again after an interruption, it goes on from the last checkpoint.

    Args:
        config: What to train and how.
        clips: What to train on.
        folder: Where checkpoint, log and result go.
        initial: Begin with a copy of its weights instead of random ones; of the configuration's own shape.
        device: Where to compute.
        show_progress: Draw a bar with loss, PSNR and time left.

    Raises:
        CheckpointError: `folder` holds a checkpoint of another configuration, or a damaged one.
        ConfigurationError: `initial` is a network of another shape, or this is one of several processes.
        DatasetError: The clips are too few, too short or of a size the VAE cannot take.
    """
    check_alone("a training of the video VAE")
    folder = Path(folder)
    sampler = ClipSampler(clips, config)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        vae = VideoVAE(_initialised(config, initial)).to(device)
    quality = _fit(vae, config, sampler, folder, show_progress)
    _measure_statistics(vae, sampler)
    vae.eval().save(folder / "vae")
    summary = {"steps": config.num_steps, **{name: round(value, 3) for name, value in vars(quality).items()}}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return vae


@torch.no_grad()
def measure_quality(vae: VideoVAE, sampler: ClipSampler) -> Quality:
    """Reconstruction of the held-out clips through posterior means."""
    vae.eval()
    device = vae.autoencoder.device
    figures = []
    for pixels, mean_picture in sampler.held_out(_NUM_HELD_OUT_FRAMES):
        pixels, mean_picture = pixels.to(device), mean_picture.to(device)
        got = vae.decode(vae.encode(pixels))
        salient = saliency(pixels, mean_picture)
        figures.append((psnr_db(got, pixels), psnr_db(got, pixels, salient)))
    whole, salient_only = torch.tensor(figures).mean(dim=0).tolist()
    return Quality(psnr_db=whole, salient_psnr_db=salient_only)


def _initialised(config: VideoVAETrainingConfig, initial: VideoVAE | None) -> AutoencoderKLWan:
    """Fresh weights that begin with quiet posteriors: noise as loud as the latents would hide every picture."""
    autoencoder = config.build_autoencoder()
    if initial is None:
        with torch.no_grad():
            autoencoder.quant_conv.get_parameter("bias")[config.num_channels :] = _INITIAL_LOG_VARIANCE
        return autoencoder
    try:
        autoencoder.load_state_dict(initial.autoencoder.state_dict())
    except RuntimeError as error:
        raise ConfigurationError(
            "initial video VAE", got=str(error).splitlines()[1].strip(), allowed="the shape that is to be trained"
        ) from error
    return autoencoder


def _fit(
    vae: VideoVAE, config: VideoVAETrainingConfig, sampler: ClipSampler, folder: Path, show_progress: bool
) -> Quality:
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    scheduler = get_scheduler(
        "cosine", optimizer, num_warmup_steps=config.num_warmup_steps, num_training_steps=config.num_steps
    )
    first = restore_checkpoint(folder, config, vae.autoencoder, optimizer)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn())
    quality = measure_quality(vae, sampler)
    with (
        SummaryWriter(folder / "log", purge_step=first) as log,
        Progress(*columns, disable=not show_progress) as bar,
    ):
        task = bar.add_task("", total=config.num_steps, completed=first, figures="")
        for step in range(first, config.num_steps):
            _set_learning_rate(optimizer, scheduler, step)
            loss, psnr = _train_step(vae, optimizer, config, sampler, step)
            log.add_scalar("loss", loss, step)
            log.add_scalar("psnr_db", psnr, step)
            if (step + 1) % config.checkpoint_interval == 0 or step + 1 == config.num_steps:
                save_checkpoint(folder, step + 1, config, vae.autoencoder, optimizer)
                quality = measure_quality(vae, sampler)
                log.add_scalar("held_out/psnr_db", quality.psnr_db, step)
                log.add_scalar("held_out/salient_psnr_db", quality.salient_psnr_db, step)
                _LOG.info("step %d: held-out %.2f dB, salient %.2f dB", step + 1, *vars(quality).values())
            held_out = f"held-out {quality.psnr_db:.1f} dB (salient {quality.salient_psnr_db:.1f})"
            bar.update(task, advance=1, figures=f"loss {loss:.4f}  {psnr:.1f} dB  {held_out}")
    return quality


def _train_step(
    vae: VideoVAE,
    optimizer: torch.optim.Optimizer,
    config: VideoVAETrainingConfig,
    sampler: ClipSampler,
    step: int,
) -> tuple[float, float]:
    vae.train()
    device = vae.autoencoder.device
    noise = torch.Generator(device).manual_seed(_noise_seed(config.seed, step))
    batches = [(pixels.to(device), mean.to(device)) for pixels, mean in sampler.batch(step)]
    num_pixels = sum(pixels.numel() for pixels, _ in batches)
    optimizer.zero_grad(set_to_none=True)
    total, psnr = 0.0, 0.0
    for pixels, mean_picture in batches:
        share = pixels.numel() / num_pixels
        loss, got = _loss(vae, config, pixels, mean_picture, noise)
        (loss * share).backward()
        total += share * loss.item()
        psnr += share * psnr_db(got.clamp(-1, 1), pixels)
    torch.nn.utils.clip_grad_norm_(vae.parameters(), config.max_gradient_norm)
    optimizer.step()
    return total, psnr


def _loss(
    vae: VideoVAE,
    config: VideoVAETrainingConfig,
    pixels: Tensor,
    mean_picture: Tensor,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor]:
    mean, log_variance = vae.moments(pixels, FeatureCache(vae.autoencoder.encoder))
    log_variance = log_variance.clamp(*_LOG_VARIANCE_RANGE)
    drawn = torch.randn(mean.shape, generator=noise, device=mean.device)
    got = vae.reconstruct(mean + (0.5 * log_variance).exp() * drawn, FeatureCache(vae.autoencoder.decoder))
    weight = 1 + config.saliency_weight * saliency(pixels, mean_picture)
    loss = reconstruction_loss(got, pixels, weight) + config.kl_weight * kl_divergence(mean, log_variance)
    return loss, got.detach()


def _noise_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, 1]).generate_state(1, np.uint64)[0] >> 1)


def _set_learning_rate(optimizer: torch.optim.Optimizer, scheduler, step: int) -> None:
    """The schedule is a function of the step, so nothing about it needs a checkpoint."""
    for group, base, factor in zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * factor(step)


@torch.no_grad()
def _measure_statistics(vae: VideoVAE, sampler: ClipSampler) -> None:
    """Write the latents' mean and standard deviation per channel into the network's configuration."""
    device = vae.autoencoder.device
    episodes = sampler.whole_episodes(_NUM_STATISTICS_EPISODES)
    latents = [vae.encode(pixels.to(device)).movedim(1, 0).flatten(1) for pixels in episodes]
    std, mean = torch.std_mean(torch.cat(latents, dim=1).double(), dim=1)
    vae.autoencoder.register_to_config(latents_mean=mean.tolist(), latents_std=std.clamp(min=1e-6).tolist())
