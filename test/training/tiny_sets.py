"""Published training sets in miniature: the layouts and encodings of the real ones, a few pixels, values known."""

import csv

import cv2
import numpy as np

#: Height and width of the tiny pictures.
H, W = 6, 8


def colours(number, shape=(H, W)):
    """(H, W, 3) uint8 that says which frame it is: red is 10 x number; green rises to the right, blue downward."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    return np.stack([np.full(shape, 10 * number), 20 * u, 20 * v], axis=-1).astype(np.uint8)


def write_picture(path, pixels):
    """PNG or JPEG (nearly exact) by the name; RGB or one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    assert cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else [])


def write_exr(path, pixels):
    """(H, W, 3) as RGB, (H, W) as the single channel "V"."""
    import OpenEXR

    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB" if pixels.ndim == 3 else "V": np.ascontiguousarray(pixels)}) as file:
        file.write(str(path))


def slope(number):
    """(H, W) float32 depth between 1 and 2 m, another for each frame."""
    return (1 + 0.1 * number + np.arange(H * W).reshape(H, W) / 100).astype(np.float32)


def as_rgb(plane):
    return np.repeat(plane[..., None], 3, axis=-1)


def hiss(root, scene="102344049/kitchentable", numbers=(0, 1)):
    for number in numbers:
        stem = root / scene / f"{number:04d}"
        write_picture(stem.with_name(f"{stem.name}_color.png"), colours(number))
        depth = slope(number)
        depth[0, 0], depth[0, 1], depth[0, 2] = 0.1, 7.0, 5.0
        write_exr(stem.with_name(f"{stem.name}_depth.exr"), depth)
        stereo = np.repeat(np.repeat(depth + 0.5, 2, axis=0), 2, axis=1)  # the infrared pair is twice as fine
        stereo[:2, 6:8] = 0
        write_exr(stem.with_name(f"{stem.name}_simDepthImage.exr"), as_rgb(stereo))
    return root


def dreds(root, scene="00000", meta="7 1 02876657 bottle_a 0.2 2 1 0 0 0 0 0 1\n3 0 other box 0.1 3 1 0 0 0 0 0 1\n"):
    stem = root / "shapenet_generate_1216" / scene
    write_picture(stem / "0004_color.png", colours(4))
    write_exr(stem / "0004_depth_120.exr", as_rgb(slope(4)))
    stereo = slope(4)
    stereo[1, 1], stereo[1, 2] = -0.5, np.inf
    write_exr(stem / "0004_simDepthImage.exr", as_rgb(stereo))
    mask = np.full((H, W), 255, np.float32)
    mask[2, 2:4], mask[3, 5] = 7, 3
    write_exr(stem / "0004_mask.exr", as_rgb(mask / 255))
    (stem / "0004_meta.txt").write_text(meta)
    return root


def cleargrasp(root, thing="square-plastic-bottle-train", number=12):
    folder, stem = root / thing, f"{number:09d}"
    write_picture(folder / "rgb-imgs" / f"{stem}-rgb.jpg", colours(3))
    depth = slope(0).astype(np.float16)
    depth[0, 0], depth[0, 1] = 0, np.nan
    write_exr(folder / "depth-imgs-rectified" / f"{stem}-depth-rectified.exr", as_rgb(depth))
    normals = np.zeros((H, W, 3), np.float16)
    normals[:] = (0, 0.6, 0.8)  # OpenGL camera: up and toward the camera
    normals[0, 0], normals[0, 1] = 0, -1
    write_exr(folder / "camera-normals" / f"{stem}-cameraNormals.exr", normals)
    mask = np.zeros((H, W), np.uint8)
    mask[2:4, 2:5] = 255
    write_picture(folder / "segmentation-masks" / f"{stem}-segmentation-mask.png", mask)
    variants = np.where(mask > 0, 104, 0).astype(np.float32)
    write_exr(folder / "variant-masks" / f"{stem}-variantMasks.exr", as_rgb(variants))
    return root


def hypersim(root, scene="ai_001_001", frames=(0, 1), table=True):
    import h5py

    images = root / scene / "images"
    rows = []
    for frame in frames:
        write_picture(images / "scene_cam_00_final_preview" / f"frame.{frame:04d}.tonemap.jpg", colours(frame))
        geometry = images / "scene_cam_00_geometry_hdf5"
        geometry.mkdir(parents=True, exist_ok=True)
        with h5py.File(geometry / f"frame.{frame:04d}.depth_meters.hdf5", "w") as file:
            file["dataset"] = np.full((H, W), 2.0, np.float16)  # a ball around the camera
        normals = np.zeros((H, W, 3), np.float16)
        normals[:] = (0, 0, 1)  # toward the camera, whose view is along -z
        normals[0, 0] = (0, 0, -1)  # as some of Hypersim's, the wrong way round
        with h5py.File(geometry / f"frame.{frame:04d}.normal_cam.hdf5", "w") as file:
            file["dataset"] = normals
        rows.append([scene, "cam_00", frame, "True", "", "train" if frame == frames[0] else "test"])
    if table:
        with open(root / "metadata_images_split_scene_v1.csv", "w", newline="") as file:
            names = "scene_name camera_name frame_id included_in_public_release exclude_reason split_partition_name"
            csv.writer(file).writerows([names.split(), *rows])
    return root


def vkitti(root, scene="Scene02", frames=range(3), condition="clone"):
    for camera in ("Camera_0", "Camera_1"):
        for frame in frames:
            place = root / scene / condition / "frames"
            write_picture(place / "rgb" / camera / f"rgb_{frame:05d}.jpg", colours(frame))
            centimetres = np.full((H, W), 1234, np.uint16)
            centimetres[0], centimetres[1, 0], centimetres[1, 1] = 65535, 8001, 0
            write_picture(place / "depth" / camera / f"depth_{frame:05d}.png", centimetres)
    return root


def tartanair(root, frames=range(3), place="office/Easy/P001", sides=("left", "right")):
    for side in sides:
        for frame in frames:
            write_picture(root / place / f"image_{side}" / f"{frame:06d}_{side}.png", colours(frame))
            depth = slope(frame)
            depth[0] = 10000  # the sky
            file = root / place / f"depth_{side}" / f"{frame:06d}_{side}_depth.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, depth)
    return root
