#!/opt/nbd/bin/python -I
# Starts JupyterLab. -I keeps what a person installed with `pip install --user`, and their PYTHONPATH, out of the editor:
# it must start whatever they did there. Their kernels do see it.
import gc

gc.disable()  # importing makes a hundred thousand objects that all stay: collecting meanwhile is lost time
from jupyterlab.labapp import main  # noqa: E402

gc.freeze()
gc.enable()
main()
