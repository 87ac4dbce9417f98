/* The end of a wire: takes every frame, at the least cost that there is. Attached with `ip link set ... xdp`. */
__attribute__((section("xdp"), used)) int drop_all(void *frame)
{
	return 1; /* XDP_DROP */
}
