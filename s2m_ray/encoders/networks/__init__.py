"""Networks behind the encoders, as torch modules that can also be trained."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["hub_audio", "hub_files", "hub_text", "music_tagging", "short_chunk", "speech_emotion", "transfer"]
)
