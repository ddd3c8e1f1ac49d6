"""What a denoiser or a codec is trained to do."""
