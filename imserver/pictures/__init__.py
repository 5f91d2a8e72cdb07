"""Pictures: made small in a process of their own, since what decodes them may be led astray by them."""
