//! SFT: loss, masks, packing, optimizer, many adapters at once
