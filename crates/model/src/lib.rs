//! What a switch is: names, configuration, status, events, drop reasons, and their validation.
