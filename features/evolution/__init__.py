"""From one declaration to another: what differs, and the state the new one begins with."""
