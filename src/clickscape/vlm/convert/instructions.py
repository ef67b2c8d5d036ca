"""The ten instructions that the paper's prompt models are asked with (Chen et al. 2025, arXiv 2502.06823).

Facts of the checkpoints (repository CAIG), to the letter: asked otherwise they answer otherwise. {} is the caption.
"""

from __future__ import annotations

_PLAIN = "(Directly give me the prompt without prefix explanation)"

CAIG_INSTRUCTIONS = (
    "Design a concise Stable Diffusion prompt that takes the product caption '{}' and product image as "
    "inspiration to generate an appealing advertising image background for this product. " + _PLAIN,
    "Produce a short diffusion prompt considering the critical information in product caption '{}' and product "
    "image to create an advertisement background. " + _PLAIN,
    "Construct a brief background generation prompt to produce an advertising image based on product caption '{}'"
    " and product image.  " + _PLAIN,
    "Generate a short Stable Diffusion prompt that leverage the product caption '{}' and the visual elements of "
    "the product image to output an advertising background that underscores the product's attractiveness. " + _PLAIN,
    "Provide a succinct text to background diffusion model prompt suitable for this product according to caption "
    "'{}' and product image. " + _PLAIN,
    "Develop a compact prompt for Stable Diffusion to craft a background for an ad, using the product caption "
    "'{}' and the accompanying product image as creative influences. " + _PLAIN,
    "Draft a distilled text to image prompt to fabricate an ad background, infusing the essence of '{}' from the "
    "product caption and the picture to accentuate the product's features. " + _PLAIN,
    "Based on this product image and product caption '{}', formulate a brief diffusion prompt to synthesize a "
    "background tailored for advertising purposes. " + _PLAIN,
    "Take advantage of this product with its title '{}', build a succinct prompt for diffusion model aimed at "
    "generating an advertisement background. " + _PLAIN,
    "Make use of product title '{}' along with its image, assemble a terse stable diffusion model prompt to "
    "render an ad background that complements and highlights the product. " + _PLAIN,
)
