"""The diffusion renderer: Stable Diffusion inpaints the background, a ControlNet holds it to the product's edges."""
