//! Where lines go: a text that is handed on whenever it has grown long, so that it is never all in memory.

use crate::pages::Buffer;

/// How long a text becomes before it is handed on.
pub const PART: usize = 5 << 17;

/// A text, and who takes it before it is complete.
pub struct Outlet<'a> {
    text: &'a mut Buffer,
    hand_on: &'a mut dyn FnMut(&mut Buffer),
}

impl<'a> Outlet<'a> {
    /// `hand_on` is given each long text, whole lines, and leaves what the next ones are to be appended to.
    pub fn new(text: &'a mut Buffer, hand_on: &'a mut dyn FnMut(&mut Buffer)) -> Self {
        Self { text, hand_on }
    }

    /// Where to append.
    pub fn text(&mut self) -> &mut Buffer {
        self.text
    }

    /// A line has ended: hand on what there is, if it is much.
    pub fn line_ended(&mut self) {
        if self.text.len() >= PART {
            (self.hand_on)(self.text);
        }
    }
}
