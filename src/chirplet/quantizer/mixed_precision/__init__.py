"""Which layers stay in fp32."""
