"""A film as a text: shot list → what must be rendered → what of it is there already.

`reading` makes a Film of a text, `timeline` lays its shots on latent frames, `keys` names what shapes each piece,
`store` keeps finished pieces, `table` and `sheet` show the state of things. Networks are not known here: the nodes of
nodes/shots render.
"""
