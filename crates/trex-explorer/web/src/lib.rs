//! The explorer for the window's page: one `Explorer` on one canvas element. Only hands over; what is drawn and where is
//! decided by `trex-explorer`.

use std::cell::RefCell;
use std::rc::Rc;

use trex_explorer::{Canvas, CanvasEvent, Filter, NetView, Theme, TreeView};
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

#[derive(Default)]
struct Shared {
    canvas: Canvas,
    listener: Option<js_sys::Function>,
    context: Option<egui::Context>,
    dark: bool,
    busy: bool,
    frames: u64,
}

/// The explorer.
#[wasm_bindgen]
pub struct Explorer {
    shared: Rc<RefCell<Shared>>,
    runner: eframe::WebRunner,
}

#[wasm_bindgen]
impl Explorer {
    /// An explorer that draws nothing yet.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript has constructors only")]
    pub fn new() -> Self {
        Self { shared: Rc::default(), runner: eframe::WebRunner::new() }
    }

    /// Starts to draw. Fails where there is no WebGL.
    pub async fn start(&self, canvas: HtmlCanvasElement) -> Result<(), JsValue> {
        let shared = Rc::clone(&self.shared);
        let options = eframe::WebOptions::default();
        let app = move |cc: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
            shared.borrow_mut().context = Some(cc.egui_ctx.clone());
            Ok(Box::new(App { shared: Rc::clone(&shared) }))
        };
        self.runner.start(canvas, options, Box::new(app)).await
    }

    /// Ends it and gives the canvas back.
    pub fn destroy(&self) {
        self.runner.destroy();
    }

    /// Takes a tree as JSON.
    pub fn set_tree(&self, json: &str) -> Result<(), JsValue> {
        let tree: TreeView = serde_json::from_str(json).map_err(|err| JsValue::from_str(&err.to_string()))?;
        self.change(|shared| shared.canvas.set_tree(tree));
        Ok(())
    }

    /// Takes a net as JSON, to be shown instead of a tree.
    pub fn set_net(&self, json: &str) -> Result<(), JsValue> {
        let net: NetView = serde_json::from_str(json).map_err(|err| JsValue::from_str(&err.to_string()))?;
        self.change(|shared| shared.canvas.set_net(net));
        Ok(())
    }

    /// Takes a filter as JSON.
    pub fn set_filter(&self, json: &str) -> Result<(), JsValue> {
        let filter: Filter = serde_json::from_str(json).map_err(|err| JsValue::from_str(&err.to_string()))?;
        self.change(|shared| shared.canvas.set_filter(filter));
        Ok(())
    }

    /// Chooses a node, or none.
    pub fn select(&self, id: Option<String>) {
        self.change(|shared| shared.canvas.select(id.as_deref()));
    }

    /// Folds a node up or unfolds it.
    pub fn set_folded(&self, id: &str, folded: bool) {
        self.change(|shared| shared.canvas.set_folded(id, folded));
    }

    /// Calls back with what a person does, as JSON.
    pub fn on_event(&self, listener: js_sys::Function) {
        self.shared.borrow_mut().listener = Some(listener);
    }

    /// Sets the appearance.
    pub fn set_dark(&self, dark: bool) {
        self.change(|shared| {
            shared.dark = dark;
            shared.canvas.set_theme(if dark { Theme::dark() } else { Theme::light() });
        });
    }

    /// Whether nodes glide to new places.
    pub fn set_animated(&self, animated: bool) {
        self.shared.borrow_mut().canvas.set_animated(animated);
    }

    /// Shows the whole tree.
    pub fn fit(&self) {
        self.change(|shared| shared.canvas.fit());
    }

    /// Zooms about the middle.
    pub fn zoom_by(&self, factor: f32) {
        self.change(|shared| shared.canvas.zoom_by(factor));
    }

    /// Draws without a pause, to measure frames per second.
    pub fn set_busy(&self, busy: bool) {
        self.change(|shared| shared.busy = busy);
    }

    /// Where a node stands on the canvas, in points; for tests.
    pub fn node_pos(&self, id: &str) -> Option<Box<[f32]>> {
        let at = self.shared.borrow().canvas.position_of(id)?;
        Some(Box::new([at.x, at.y]))
    }

    /// Frames of the page and frames in which the tree was drawn anew.
    pub fn stats(&self) -> Box<[f64]> {
        let shared = self.shared.borrow();
        #[expect(clippy::cast_precision_loss, reason = "a counter of frames")]
        Box::new([shared.frames as f64, shared.canvas.num_drawn() as f64])
    }
}

impl Explorer {
    fn change(&self, change: impl FnOnce(&mut Shared)) {
        let mut shared = self.shared.borrow_mut();
        change(&mut shared);
        if let Some(context) = &shared.context {
            context.request_repaint();
        }
    }
}

struct App {
    shared: Rc<RefCell<Shared>>,
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        let (events, listener) = {
            let mut shared = self.shared.borrow_mut();
            shared.frames += 1;
            let wanted = if shared.dark { egui::ThemePreference::Dark } else { egui::ThemePreference::Light };
            if ui.ctx().options(|options| options.theme_preference) != wanted {
                ui.ctx().options_mut(|options| options.theme_preference = wanted);
            }
            if shared.busy {
                shared.canvas.zoom_by(1.0);
                ui.ctx().request_repaint();
            }
            (shared.canvas.ui(ui), shared.listener.clone())
        };
        // The listener may call back into the explorer, so nothing is borrowed here.
        for event in events {
            report(&event, listener.as_ref());
        }
    }
}

fn report(event: &CanvasEvent, listener: Option<&js_sys::Function>) {
    let (Some(listener), Ok(json)) = (listener, serde_json::to_string(event)) else { return };
    // An error of the page's own listener is the page's to show.
    listener.call1(&JsValue::NULL, &JsValue::from_str(&json)).ok();
}
