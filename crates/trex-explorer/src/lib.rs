//! The search tree as a picture: what a node is, where it stands, how it looks, and the canvas that draws it. The same
//! canvas shows what is known as a net.
//!
//! Without the feature `canvas` there is only the model and the layout, pure and without a window library; the shell
//! takes that part. The canvas keeps no data of its own but the view (pan, zoom, what is folded); what it shows comes in
//! whole with every [`TreeView`] or [`NetView`]. It reads no file, no clock and no network, starts no thread, and asks for no frame
//! where nothing changed.

#[cfg(feature = "canvas")]
mod canvas;
mod layout;
#[cfg(feature = "canvas")]
mod look;
mod model;
mod net;
#[cfg(feature = "canvas")]
mod no_layout;
#[cfg(feature = "canvas")]
mod scale;
#[cfg(feature = "canvas")]
mod shapes;

#[cfg(feature = "canvas")]
pub use canvas::{Canvas, CanvasEvent, Filter};
pub use layout::{COLUMN_WIDTH, Layout, Place, ROW_HEIGHT};
#[cfg(feature = "canvas")]
pub use look::Theme;
pub use model::{NetEdge, NetEffect, NetKind, NetNode, NetView, NodeKind, NodeState, ShownScore, TreeNode, TreeView};
pub use net::{NET_COLUMN_WIDTH, NET_ROW_HEIGHT, place_net};
