"""Listeners: outbound by original destination, outbound bound, inbound, gateway; and what their chains share."""
