"""Run ``s2m`` as ``python -m s2m_ray``.

This is the only module of the library that knows the commands. Nothing imports it.
"""

from jobs.commands import main

if __name__ == "__main__":
    main()
