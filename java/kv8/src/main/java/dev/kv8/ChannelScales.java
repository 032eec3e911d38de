package dev.kv8;

/**
 * Static scales of K or V of one layer on the device: float32, that of head h and channel d at element {@code h *
 * headStride + d * channelStride}. A stride of 0 shares a scale: (0, 0) is per tensor, (1, 0) per head, (headSize, 1) per
 * channel.
 */
public record ChannelScales(DeviceMemory values, long headStride, long channelStride) {}
