"""A server as several processes: a supervisor, engines, and front ends that share the ports.

topology           how many of what; hardware: and where
supervisor         starts, stops and restarts all; keeper: one place in its tree; launch: one
                   process of it; restarts: when the next one comes
child, orphan      a process from its own side: it lives, says so, and never outlives the others
engine, front_end  what the two kinds of processes do; loads: what an engine must not forget
messages           what they say to each other; settings_text: and how they are told what to be
placeholders       the shared ports; runtime_directory: where sockets are
control            the socket behind `streamgate status` and `streamgate drain`
tree, tree_text    the processes as values, and on a terminal; proc: what the kernel knows
scrape, log_lines  metrics and logs of all in one place; adopted: what process 1 must do beside
"""
