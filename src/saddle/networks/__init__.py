"""What G and D are: one file per family of architectures, and the parts that families share.

A generator takes latents [B, latent_dim] and labels [B] (int64; zeros where the data has none) and returns images
[B, channels, resolution, resolution], in [-1, 1] unless it says otherwise. A trunk takes such images and returns
features [B, F]; a head (`saddle.heads`) makes logits of them. A trunk says

    features: F.
    independent: samples do not influence each other: it has no batch norm and no minibatch deviation. Then real and
        generated images go through it in one pass.

Arguments that constructors share; a class says only where its own differ:

    latent_dim: length of a latent vector.
    width: channels of the widest images' hidden layers, from which all others follow.
    resolution: H and W of the images. InputError where the architecture has no such size.
    channels: of the images.
    classes: number of classes; 0 without labels.
    conditioning: how G reads labels, see `saddle.networks.base.Condition`. InputError without classes.
    norm: one of `saddle.networks.norm.NORMS`. In a trunk it is that of the hidden layers, or spectral, of all weights;
        in a generator only that of the weights, spectral or none.
    init: of the weights, one of `saddle.networks.init.INITIALISERS`.
    inputs, outputs: of a layer or block: channels, or length of vectors, in and out.

Precision. In float32 and float64 everything is computed in that type. Under autocast to bfloat16 or float16 ("low"):

    Convolutions and linear layers compute in the low type. Their biases, noise, activations, resampling filters,
        gains of conditional norms and residual streams have the type of the activation that they meet: a float32
        parameter never promotes a low activation, which would double the memory traffic of all that follows. Where
        autocast itself widens an operation (padding on a CPU), the next convolution narrows it again.
    Statistics (mean and variance of batch, layer and instance norm, pixel norm, minibatch deviation, demodulation,
        spectral norm) are computed in float32; the normalised activation has the type that it came in.
    Images leave G in float32: tanh, and in the style-based and growing families the sum or fading of several sizes,
        are computed there, because bfloat16 has steps of half a grey level near 1. Logits leave D in float32.
    The families of equalised learning rates (ProGAN, StyleGAN, StyleGAN2) compute linear layers in float32 too: the
        mapping network, the styles, D's last layers. So does StyleGAN2-ADA's code; they cost nothing beside the
        convolutions, and styles and demodulation factors scale every pixel of a channel alike. StyleGAN2's layers scale
        weights and styles so that float16 cannot overflow, and cut their outputs where `clamp` says so (256 there).
    StyleGAN adds noise and bias in float32, because its instance norm takes the mean away again and with it the digits
        that a low type keeps; what leaves a style is low again, except before the first convolution.
    R3GAN keeps the residual stream of both networks in the low type, as its authors' code does in its bfloat16 stages.
"""
