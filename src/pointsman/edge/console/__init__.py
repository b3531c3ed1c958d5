"""The console: a page served by the gateway itself, and what that page asks for.

`assets` holds the page's files, `story` makes values for it, `live` tells what is new, `routes` says who may see what.
The page is plain ES modules in `static/`; what others wrote stands in `static/vendor/`, with its licences.
"""
