#!/usr/bin/env python3
"""A small window from which files can be dragged, for the test of the window: DRAG-SOURCE X Y FILE...

Needs GTK 3 for Python (Debian: python3-gi, gir1.2-gtk-3.0). Ends when its standard input ends.
"""
import sys

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk  # noqa: E402

x, y, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
window = Gtk.Window(title="drag-source", decorated=False)
window.set_default_size(60, 40)
window.set_keep_above(True)
window.move(x, y)
box = Gtk.EventBox()
box.add(Gtk.Label(label="drag"))
box.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, [], Gdk.DragAction.COPY)
box.drag_source_add_uri_targets()
box.connect("drag-data-get", lambda _w, _c, data, _i, _t: data.set_uris([GLib.filename_to_uri(f) for f in files]))
window.add(box)
window.show_all()
GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_HUP | GLib.IO_IN, lambda *_: Gtk.main_quit() or False)
print("ready", flush=True)
Gtk.main()
