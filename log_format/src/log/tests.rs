mod crash;
mod faults;
mod flips;
mod offline;
mod reading;
mod support;
